"""What methods of the objective level share; nothing here is registered."""

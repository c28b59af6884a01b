"""What the methods of the model level share; none of it is a method."""

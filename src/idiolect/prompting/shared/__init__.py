"""What several methods of the input level share; nothing here is a method."""

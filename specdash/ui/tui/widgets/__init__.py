"""What screens of lists are made of: the table, the list to choose from, and the screen around them."""

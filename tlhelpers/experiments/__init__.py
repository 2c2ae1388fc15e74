"""How the book's recorded results are made."""

"""What is kept, and how: the tables, the transactions, and the sealed values."""

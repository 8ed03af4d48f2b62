"""What the store writes, inside a transaction that its caller owns."""

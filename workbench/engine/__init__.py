"""What the compiler really made."""

"""What runs came to: files, numbers, errors, flags. Without torch."""

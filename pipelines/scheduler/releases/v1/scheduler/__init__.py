"""Write a post for social media now, and have it published at its hour."""

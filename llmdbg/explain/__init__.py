"""The plain-English texts, and what fills them with numbers."""

"""What users would pick instead of kokofast."""

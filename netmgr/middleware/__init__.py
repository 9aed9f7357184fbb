"""Request middleware: what a stage is told, what it may answer, what becomes of it."""

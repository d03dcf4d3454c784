"""What any other room may use: files, values of fields, progress, memory, signals, provenance."""

"""The terminal dashboard: reads event logs and checkpoint files, and never imports torch."""

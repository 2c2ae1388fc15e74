"""What the chapters need beside the lesson: checks, claims, execution, widgets and diagrams."""

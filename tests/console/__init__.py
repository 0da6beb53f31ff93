"""The console for operators."""

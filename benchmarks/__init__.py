"""The same training done by the course and in every other way one would write it."""

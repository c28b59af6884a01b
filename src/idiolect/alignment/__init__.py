"""Objective level: whose preferences decide what is answered; one method a file."""

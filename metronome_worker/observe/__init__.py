"""What people see: log events and reports."""

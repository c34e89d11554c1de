"""The label database: tables (models), opening and locking (database), event log (events), backup, verification."""

"""What the report shows: each section as a value made from the artefacts, without any markup."""

"""The embedded cohort: digital patients with known truth, written as hospitals send scans."""

"""What leaves a site tells little about one patient: private training, accounting, and budgets."""

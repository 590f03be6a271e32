"""The bias corrector: what a cohort tells of its groups, case weights that even it out, and thresholds that serve all.

Before training, fairness_filter measures how groups, outcomes and images depend on each other and chooses a weight for
each case: by reweighing, or by solving a quadratic problem in bits (balance_problem) exactly, by annealing, or with a
quantum circuit (qaoa, vqe). After training, operating_point chooses thresholds under a bound on the groups' gap.
"""

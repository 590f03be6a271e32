"""The instruments of a model's audit that need the network itself; each returns a frozen dataclass of plain values.

Nothing is judged here but what a number itself decides: a limit comes from the caller, and where the cases do not
suffice the answer is "insufficient-evidence". Importing this package imports no torch; its modules do.

    audited_model.load_audited_model(folder) -> AuditedModel
    audited_model.to_audited_model(model, identity) -> AuditedModel
    budget.budget_for(spacing_mm) -> AuditBudget              how many cases each instrument looks at by default

    embeddings.case_embeddings(model, examples, *, place="after-neck", limit=None, progress=ignore) -> Embeddings
    kernel_test.compare_groups(values, groups, *, minimum, wires=6, permutations=999, seed=0) -> KernelComparison
        values float64 (cases, features), as Embeddings.values; groups: one text a case, None where not known
    kernel_test.two_sample_test(first, second, *, wires=6, permutations=999, seed=0) -> TwoSampleTest

    lipschitz.head_lipschitz(model, examples=(), *, slot="head", twin=None, noise=NOISES, limit=None, seed=0,
        progress=ignore) -> LipschitzReport                   slot: "head" or "neck"; twin: an AuditedModel
    adversarial.attack_model(model, examples, *, twin=None, settings=AttackSettings(), limit=None, progress=ignore)
        -> AdversarialReport
    gradient_inversion.inversion_trials(model, examples, *, trials=20, settings=InversionSettings(), seed=0,
        progress=ignore) -> InversionReport                   examples: heads of at least 8 patients
    gradient_inversion.parse_stored_trials(document, *, protection="none") -> Proportion
    membership_inference.membership_inference(model, members, others, *, shadows=(), limit=None, seed=0,
        progress=ignore) -> MembershipReport                  members, others: Examples trained on, and held out
    proportion.proportion(count, of) -> Proportion            with Clopper-Pearson's interval
    proportion.judge_share(found, limit) -> "passed" | "failed" | "insufficient-evidence"
    boundaries.find_boundaries(model, cases, *, floor, minimum, stresses=STRESSES, limit=None, seed=0, progress=ignore)
        -> BoundaryReport                   cases: Case or CaseSource; floor: the policy's worst_group_dice
    boundaries.size_boundary(volumes_ml, dice, *, floor, minimum) -> Boundary    of cases measured elsewhere

`progress` is federated.ports.Progress: it takes the finished fraction. `limit` is the most cases that are looked at:
the first ones, so the caller orders them. Bad input raises federated.errors.EvaluationError.
"""

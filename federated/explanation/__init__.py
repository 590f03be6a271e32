"""Why the model answered as it did: local explanations, attributions, and a reading by rules beside them.

For an audit:

    from federated.explanation.fidelity import interpretability

    interpretability(
        model: federated.model_file.Model, cases: Iterable[federated.cases.CaseSource], *,
        local_fidelity: float = 0.8, samples: int = 200, seed: int = 0, progress: Progress = ...,
    ) -> InterpretabilityResult

    InterpretabilityResult: share_explained (float, 0 to 1), low, high (its 95 % interval), r2 (tuple of (case, R2)),
        n (int), local_fidelity, samples, supervoxels (ints), seconds (float, all cases together)

With 200 samples a case took 35 to 88 s of one core's time at 2 mm, on a machine that was busy; give about 20.
"""

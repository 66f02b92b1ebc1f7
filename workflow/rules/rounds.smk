# One round: sample -> score -> tag -> update -> evaluate. Between rules go manifests only.


# Hands a round its starting policy, so that no rule reads an output of its own kind.
rule advance:
    input:
        policy=lambda wc: plan.policy_before(wc.phase, int(wc.round)),
        evidence=lambda wc: plan.stop_evidence(wc.phase, int(wc.round)),
    output:
        plan.path("phases/{phase}/r{round}/policy_in.json"),
    log:
        plan.path("logs/advance/{phase}-r{round}.log"),
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        stop_when=lambda wc: plan.recipe.stop_when,
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m workflow.advance --recipe {params.recipe} --round {wildcards.round}"
        " --policy {input.policy} --out {output} {input.evidence} > {log} 2>&1"


# The policy of a phase that was best by the recipe's metric, where the next phase starts from it.
rule best:
    input:
        unpack(lambda wc: plan.candidates(wc.phase)),
    output:
        plan.path("phases/{phase}/best.json"),
    log:
        plan.path("logs/best/{phase}.log"),
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        by=lambda wc: plan.recipe.best_by(wc.phase),
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m workflow.best --recipe {params.recipe} --phase {wildcards.phase}"
        " --out {output} > {log} 2>&1"


rule sample:
    input:
        policy=plan.path("phases/{phase}/r{round}/policy_in.json"),
        prompts=plan.prompts("train"),
    output:
        plan.path("phases/{phase}/r{round}/samples/part-{shard}-of-{shards}.json"),
    log:
        plan.path("logs/sample/{phase}-r{round}-{shard}-of-{shards}.log"),
    benchmark:
        plan.path("benchmarks/sample/{phase}-r{round}-{shard}-of-{shards}.tsv")
    conda:
        "../../envs/gpu.yaml"
        if plan.samples_with("vllm", "sample")
        else "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wc, attempt: 3000 * attempt,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("sample", wc.phase),
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m stages.sample --recipe {params.recipe} --phase {wildcards.phase}"
        " --round {wildcards.round} --shard {wildcards.shard} --shards {wildcards.shards}"
        " --policy {input.policy} --prompts {input.prompts} --out {output} > {log} 2>&1"


rule score:
    input:
        samples=plan.path(
            "phases/{phase}/r{round}/samples/part-{shard}-of-{shards}.json"
        ),
        prompts=plan.prompts("train"),
        questions=lambda wc: plan.questions(wc.phase),
        models=lambda wc: plan.scorers(wc.phase),
    output:
        plan.path("phases/{phase}/r{round}/scores/part-{shard}-of-{shards}.json"),
    log:
        plan.path("logs/score/{phase}-r{round}-{shard}-of-{shards}.log"),
    benchmark:
        plan.path("benchmarks/score/{phase}-r{round}-{shard}-of-{shards}.tsv")
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wc, attempt: 3000 * attempt,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("score", wc.phase),
        recipe=plan.path("recipe.yaml"),
        models=lambda wc, input: judging_options(input),
    shell:
        "python -m stages.score --recipe {params.recipe} --phase {wildcards.phase}"
        " --round {wildcards.round} --samples {input.samples} --prompts {input.prompts}"
        " {params.models} --out {output} > {log} 2>&1"


# Joins the shards of a table. Its digest does not depend on how many there were.
rule join:
    input:
        lambda wc: plan.parts(wc.phase, int(wc.round), wc.sharded),
    output:
        plan.path("phases/{phase}/r{round}/{sharded}.json"),
    log:
        plan.path("logs/join/{phase}-r{round}-{sharded}.log"),
    wildcard_constraints:
        sharded="samples|scores",
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    shell:
        "python -m workflow.join --out {output} {input} > {log} 2>&1"


rule tag:
    input:
        unpack(lambda wc: plan.pool_inputs(wc.phase, int(wc.round))),
        policy=plan.path("phases/{phase}/r{round}/policy_in.json"),
    output:
        plan.path("phases/{phase}/r{round}/pool.json"),
    log:
        plan.path("logs/tag/{phase}-r{round}.log"),
    benchmark:
        plan.path("benchmarks/tag/{phase}-r{round}.tsv")
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=lambda wc: plan.settings_hash("tag", wc.phase),
        recipe=plan.path("recipe.yaml"),
        samples=lambda wc, input: " ".join(
            f"--samples {path}" for path in input.samples
        ),
        scores=lambda wc, input: " ".join(f"--scores {path}" for path in input.scores),
    shell:
        "python -m stages.tag --recipe {params.recipe} --phase {wildcards.phase}"
        " --round {wildcards.round} --policy {input.policy} {params.samples} {params.scores}"
        " --out {output} > {log} 2>&1"


rule update_policy:
    input:
        unpack(lambda wc: plan.update_inputs(wc.phase, int(wc.round))),
    output:
        plan.path("phases/{phase}/r{round}/policy.json"),
    log:
        plan.path("logs/update_policy/{phase}-r{round}.log"),
    benchmark:
        plan.path("benchmarks/update_policy/{phase}-r{round}.tsv")
    conda:
        "../../envs/cpu.yaml"
    threads: plan.recipe.processes
    resources:
        mem_mb=lambda wc, attempt: 4000 * attempt * plan.recipe.processes,
        runtime=lambda wc, attempt: 120 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("update_policy", wc.phase),
        recipe=plan.path("recipe.yaml"),
        learn_from=lambda wc, input: plan.learning_options(wc.phase, input),
    shell:
        plan.python()
        + " stages.update_policy --recipe {params.recipe} --phase {wildcards.phase}"
        " --round {wildcards.round} --policy {input.policy} --reference {input.reference}"
        " {params.learn_from} --out {output} > {log} 2>&1"


# Evaluation `r0` looks at the policy with which the phase starts.
rule evaluate:
    input:
        policy=lambda wc: plan.evaluated_policy(wc.phase, int(wc.evaluated)),
        base=plan.path("base/policy.json"),
        reference=lambda wc: plan.policy_before(wc.phase, 1),
        prompts=plan.prompts(plan.recipe.evaluate.split),
        questions=lambda wc: plan.questions_judged(wc.phase),
        models=lambda wc: plan.judges(wc.phase),
    output:
        plan.path("phases/{phase}/r{evaluated}/evaluation.json"),
    log:
        plan.path("logs/evaluate/{phase}-r{evaluated}.log"),
    benchmark:
        plan.path("benchmarks/evaluate/{phase}-r{evaluated}.tsv")
    conda:
        "../../envs/gpu.yaml"
        if plan.samples_with("vllm", "evaluate")
        else "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wc, attempt: 3000 * attempt,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("evaluate", wc.phase),
        recipe=plan.path("recipe.yaml"),
        models=lambda wc, input: judging_options(input),
    shell:
        "python -m stages.evaluate --recipe {params.recipe} --phase {wildcards.phase}"
        " --round {wildcards.evaluated} --policy {input.policy} --base {input.base}"
        " --reference {input.reference}"
        " --prompts {input.prompts} {params.models}"
        " --out {output} > {log} 2>&1"


# What `evaluate.also` asks for beside: other prompts, other words, another judge.
rule evaluate_further:
    input:
        policy=lambda wc: plan.evaluated_policy(wc.phase, int(wc.evaluated)),
        base=plan.path("base/policy.json"),
        reference=lambda wc: plan.policy_before(wc.phase, 1),
        prompts=lambda wc: plan.prompts_of(wc.also),
        questions=lambda wc: plan.questions_judged(wc.phase, wc.also),
        models=lambda wc: plan.judges(wc.phase, wc.also),
    output:
        plan.path("phases/{phase}/r{evaluated}/also/{also}.json"),
    log:
        plan.path("logs/evaluate/{phase}-r{evaluated}-{also}.log"),
    benchmark:
        plan.path("benchmarks/evaluate/{phase}-r{evaluated}-{also}.tsv")
    conda:
        "../../envs/gpu.yaml"
        if plan.samples_with("vllm", "evaluate")
        else "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wc, attempt: 3000 * attempt,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("evaluate", wc.phase, wc.also),
        recipe=plan.path("recipe.yaml"),
        models=lambda wc, input: judging_options(input),
    shell:
        "python -m stages.evaluate --recipe {params.recipe} --also {wildcards.also}"
        " --phase {wildcards.phase}"
        " --round {wildcards.evaluated} --policy {input.policy} --base {input.base}"
        " --reference {input.reference}"
        " --prompts {input.prompts} {params.models}"
        " --out {output} > {log} 2>&1"

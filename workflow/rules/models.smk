# The base policy and the scorers that the recipe trains.

if plan.recipe.policy.init == "from_scratch":

    rule train_base_model:
        input:
            **plan.base_inputs(),
        output:
            plan.path("base/policy.json"),
        log:
            plan.path("logs/train_base_model/base.log"),
        benchmark:
            plan.path("benchmarks/train_base_model/base.tsv")
        conda:
            "../../envs/cpu.yaml"
        threads: plan.recipe.processes
        resources:
            mem_mb=lambda wc, attempt: 3000 * attempt * plan.recipe.processes,
            runtime=lambda wc, attempt: 60 * attempt,
        params:
            settings=plan.settings_hash("train_base_model"),
            recipe=plan.path("recipe.yaml"),
        shell:
            plan.python()
            + " stages.train_base_model --recipe {params.recipe} --texts {input.texts}"
            " --out {output} > {log} 2>&1"

else:

    rule adopt_policy:
        output:
            plan.path("base/policy.json"),
        log:
            plan.path("logs/adopt_policy/base.log"),
        benchmark:
            plan.path("benchmarks/adopt_policy/base.tsv")
        localrule: True
        conda:
            "../../envs/cpu.yaml"
        params:
            settings=plan.settings_hash("adopt_policy"),
            recipe=plan.path("recipe.yaml"),
        shell:
            "python -m stages.adopt_policy --recipe {params.recipe} --out {output} > {log} 2>&1"


rule train_reward_model:
    input:
        unpack(lambda wc: plan.reward_model_inputs(wc.name)),
    output:
        plan.path("reward_models/{name}/model.json"),
    log:
        plan.path("logs/train_reward_model/{name}.log"),
    benchmark:
        plan.path("benchmarks/train_reward_model/{name}.tsv")
    conda:
        "../../envs/cpu.yaml"
    threads: plan.recipe.processes
    resources:
        mem_mb=lambda wc, attempt: 3000 * attempt * plan.recipe.processes,
        runtime=lambda wc, attempt: 60 * attempt,
    params:
        settings=lambda wc: plan.settings_hash("train_reward_model", name=wc.name),
        recipe=plan.path("recipe.yaml"),
        data=lambda wc, input: " ".join(
            f"--{role} {path}" for role, path in input.items()
        ),
    shell:
        plan.python()
        + " stages.train_reward_model --recipe {params.recipe} --name {wildcards.name}"
        " {params.data} --out {output} > {log} 2>&1"

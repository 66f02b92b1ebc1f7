# Prompts, texts, ratings and feedback: everything that comes from outside, as checked tables.


rule prepare_prompts:
    output:
        plan.path("data/{table}.json"),
    log:
        plan.path("logs/prepare_prompts/{table}.log"),
    benchmark:
        plan.path("benchmarks/prepare_prompts/{table}.tsv")
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=lambda wc: plan.settings_hash("prepare_prompts", name=wc.table),
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m stages.prepare_prompts --recipe {params.recipe} --table {wildcards.table}"
        " --out {output} > {log} 2>&1"


# Which of two answers is better, by people or by rule.
rule build_comparisons:
    input:
        unpack(lambda wc: plan.comparison_inputs(wc.name)),
    output:
        plan.path("reward_models/{name}/comparisons.json"),
    log:
        plan.path("logs/build_comparisons/{name}.log"),
    benchmark:
        plan.path("benchmarks/build_comparisons/{name}.tsv")
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=lambda wc: plan.settings_hash("build_comparisons", name=wc.name),
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m stages.build_comparisons --recipe {params.recipe} --name {wildcards.name}"
        " --feedback {input.feedback} --out {output} > {log} 2>&1"

# Prompts, texts and ratings: everything that comes from outside, as checked tables.


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

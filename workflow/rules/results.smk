# What stays when the run is done: the summary, the report, and the policies that `keep` names.


rule tidy:
    input:
        plan.evaluations(),
        plan.further_evaluations(),
    output:
        plan.path("tidy.json"),
    log:
        plan.path("logs/tidy/run.log"),
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        keep=plan.recipe.keep.model_dump(mode="json"),
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m workflow.tidy --recipe {params.recipe} --out {output} > {log} 2>&1"


rule report:
    input:
        evaluations=plan.evaluations(),
        further=plan.further_evaluations(),
        pools=plan.pools(),
    output:
        summary=plan.path("summary.json"),
        report=report(
            plan.path("report.html"), category="Rondo", caption="../report/report.rst"
        ),
    log:
        plan.path("logs/report/run.log"),
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        recipe=plan.path("recipe.yaml"),
    shell:
        "python -m stages.report --recipe {params.recipe} --summary {output.summary}"
        " --report {output.report} > {log} 2>&1"

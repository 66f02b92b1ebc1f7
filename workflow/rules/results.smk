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
            plan.path("report.html"),
            category="The whole report",
            caption="../report/report.rst",
            labels={"phase": "all", "figure": "the whole report"},
        ),
        figures=[
            report(
                plan.path(slot.file),
                category=slot.category,
                caption=f"../report/{slot.caption}.rst",
                labels=slot.labels,
            )
            for slot in plan.figures()
        ],
    log:
        plan.path("logs/report/run.log"),
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=plan.settings_hash("report"),
        recipe=plan.path("recipe.yaml"),
        figures=lambda wc, output: " ".join(
            f"--figure {path}" for path in output.figures
        ),
    shell:
        "python -m stages.report --recipe {params.recipe} --summary {output.summary}"
        " --report {output.report} {params.figures} > {log} 2>&1"

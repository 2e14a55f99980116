"""Deploy a website to shared hosting, which gives SFTP and no shell: releases, and a link."""

from deploykit import Environment, Host, Pipeline
from deploykit.stages import Prune, Publish, SmokeTest, Transfer


def website(url: str) -> Pipeline:
    """Return the pipeline of the site at *url*."""
    return Pipeline(
        app="website",
        root="/site",
        stages=[
            Transfer("public", shared=["uploads/"]),
            Publish(link="public_html"),
            SmokeTest(url, within=30),
            Prune(keep=3),
        ],
    )


production = Environment(
    website("https://www.example.org/"),
    hosts=[Host("sftp.example.org", user="web", shell=False)],
)

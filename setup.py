"""bundles/ and configs/ lie beside the package in a checkout, and inside it once built; the rest is in setup.cfg."""

from setuptools import find_packages, setup

BESIDE = {"monai_iltm.bundles": "bundles", "monai_iltm.configs": "configs"}

setup(
    packages=[*find_packages(include=["monai_iltm*"]), *BESIDE],
    package_dir=BESIDE,
    # by kind, so that weights and results that lie in a checkout stay there
    package_data={
        "monai_iltm": ["py.typed"],
        "monai_iltm.report": ["templates/*.html"],
        "monai_iltm.bundles": ["*/LICENSE", "*/configs/*.json", "*/configs/*.conf", "*/docs/*.md"],
        "monai_iltm.configs": ["*.json"],
    },
)

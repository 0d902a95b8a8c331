"""Write the files, and remove those of monitors that there are no more."""

from dashboards import FOLDER, files

made = files()
for old in (FOLDER / "datadog/monitors").glob("*.json"):
    if old not in made:
        old.unlink()
for path, text in made.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

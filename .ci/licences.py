"""Checks the licence of every crate we depend on against the list in deny.toml, without cargo-deny.

Knows what licence expressions in crates need: OR, AND, WITH, brackets, and the old `A/B` for `A OR B`.
"""

import json
import re
import subprocess
import sys
import tomllib


def allowed(expression: str, allow: set[str]) -> bool:
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def word() -> str | None:
        return words[position] if position < len(words) else None

    def term() -> bool:
        nonlocal position
        if word() == "(":
            position += 1
            verdict = either()
            position += 1
            return verdict
        name = word() or ""
        position += 1
        if word() == "WITH":
            name += f" WITH {words[position + 1]}"
            position += 2
        return name in allow

    def both() -> bool:
        nonlocal position
        verdict = term()
        while word() == "AND":
            position += 1
            verdict = term() and verdict
        return verdict

    def either() -> bool:
        nonlocal position
        verdict = both()
        while word() == "OR":
            position += 1
            verdict = both() or verdict
        return verdict

    return either() and position == len(words)


def main() -> None:
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)["licenses"]
    exceptions = {rule["crate"]: set(rule["allow"]) for rule in rules.get("exceptions", [])}
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    refused = [
        f"{package['name']} {package['version']}: {package['license']}"
        for package in packages
        if not allowed(package["license"] or "none", set(rules["allow"]) | exceptions.get(package["name"], set()))
    ]
    if refused:
        sys.exit("deny.toml does not allow these licences:\n" + "\n".join(refused))
    print(f"licences: {len(packages)} packages, all within deny.toml")


main()

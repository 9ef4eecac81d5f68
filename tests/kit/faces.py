"""The import contract of faces: a module is imported by its own package; all others go through the package's face."""

from __future__ import annotations

from importlinter import Contract, ContractCheck, output


class Faces(Contract):
    """Nobody imports past an ``__init__``."""

    type_name = "faces"

    def check(self, graph, verbose):  # noqa: ARG002 - the interface says so
        packages = {module for module in graph.modules if graph.find_children(module)}
        past = []
        for imported in sorted(graph.modules - packages):
            package = imported.rpartition(".")[0]
            past += [
                (importer, imported)
                for importer in sorted(graph.find_modules_that_directly_import(imported))
                if importer != package and not importer.startswith(f"{package}.")
            ]
        return ContractCheck(kept=not past, metadata={"past": past})

    def render_broken_contract(self, check):
        for importer, imported in check.metadata["past"]:
            package = imported.rpartition(".")[0]
            output.print_error(
                f"{importer} imports {imported}; name it in {package}/__init__.pyi and import it from there"
            )

"""What evaluators of task packs share. It runs in the sandbox, where recipelab is not installed.

A phase of the evaluator sees this folder as the package ``recipelab_scoring``. So its modules
import the standard library alone, and each other by relative imports.
"""

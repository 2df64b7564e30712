"""What this project is compared with, each written in its framework's idiom at its best.

They take a description of the model (`benchmarks.architectures`) and import nothing of the project.
"""

"""What a sweep or a run will take, found before any compute is spent: budgets, memory, time."""

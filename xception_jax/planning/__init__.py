"""What a run or a sweep will cost, worked out before any compute is spent."""

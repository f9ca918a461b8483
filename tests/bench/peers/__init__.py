"""The same questions to what a user might build or take instead: smaller programs, without most of the defences."""

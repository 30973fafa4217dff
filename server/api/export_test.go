package api

// ForRuns are the operations that a run's own code may ask for.
var ForRuns = forRuns

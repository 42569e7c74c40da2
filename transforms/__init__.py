"""How one step works: a pure function on Arrow tables and the PTransform of the same name, one module a step."""

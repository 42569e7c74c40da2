"""What the data is: event contracts, table schemas, source descriptions, metric and friction dictionaries."""

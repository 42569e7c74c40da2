-- Touchpoints out of order. Input: timeline_breaks, which the audit finds in one pass over the files, since neighbours in
-- millions of rows are no work for SQL. Grain: one such touchpoint, at most 100 a rule; rule, customer_key, seq, found.
select rule, customer_key, seq, found from timeline_breaks

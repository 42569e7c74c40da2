-- Ends as they were told. Input: touchpoints. Grain: one cancellation that took effect, declined renewal or closed account.
select
    customer_no,
    month,
    coalesce(reason, '(none)') as reason,
    coalesce(voluntary::varchar, '(none)') as voluntary,
    1 as numerator,
    [event_id] as numerator_events
from touchpoints
where
    (event_type = 'cancellation' and kind = 'effective')
    or (event_type = 'renewal' and outcome = 'declined')
    or event_type = 'account_closed'

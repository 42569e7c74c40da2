-- Whose event it is, from the event alone.
-- Input: events (customer_id, email, anonymous_id, source, ticket_id, subscription_id, order_id), one row an event.
-- Grain of the output: one row an event, in the same order.
-- A customer_id that begins like a key of another kind is written id:<customer_id>, so that no two kinds meet.
-- Source of the rules: docs/data-model.md, "Customer".
select
    case
        when customer_id is not null then
            case
                when regexp_full_match(customer_id, '(?s)(id|email|anon|ticket|subscription|order):.*')
                    then 'id:' || customer_id
                else customer_id
            end
        when email is not null then 'email:' || email
        when anonymous_id is not null then 'anon:' || anonymous_id
        when ticket_id is not null then 'ticket:' || coalesce(source, '') || ':' || ticket_id
        when subscription_id is not null then 'subscription:' || coalesce(source, '') || ':' || subscription_id
        else 'order:' || coalesce(source, '') || ':' || order_id
    end as customer_key,
    customer_id is not null or email is not null as is_known
from events

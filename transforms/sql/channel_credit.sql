-- Which channels are credited with the conversions of one shard. Input: conversions (window_no, journey_id: null where the
-- window has no conversion, currency: of the event that closed the journey), touches (window_no, place 1.., touches: how
-- many the window has, channel_no), channels (channel_no, channel), money (journey_id, currency, amount); parameter $no_touch.
-- Grain: one model, channel, currency and number of parts. Weights and weighted amounts add up; divided by the parts they
-- are conversions and revenue.
-- A conversion counts in the currency of the event that closed its journey, revenue in its own.
with touched as (
    select t.window_no, t.place, t.touches, c.channel
    from touches as t
    join channels as c on t.channel_no = c.channel_no
    union all
    -- A conversion without a touch is told as such, so that the sums hold.
    select window_no, 1, 1, $no_touch
    from conversions
    where journey_id is not null and window_no not in (select window_no from touches)
),
weighted as (
    select window_no, channel, 'first_touch' as model, 1 as parts, 1 as weight from touched where place = 1
    union all
    select window_no, channel, 'last_touch', 1, 1 from touched where place = touches
    union all
    select window_no, channel, 'linear', touches, 1 from touched
    union all
    -- 40 % the first, 40 % the last, 20 % those between them; half each of two, all of one.
    select
        window_no,
        channel,
        'position',
        case touches when 1 then 1 when 2 then 2 else 5 * (touches - 2) end,
        case when touches > 2 and place in (1, touches) then 2 * (touches - 2) else 1 end
    from touched
),
-- A channel that touched a conversion several times is one row from here on.
credited as (
    select w.window_no, c.journey_id, c.currency, w.model, w.channel, w.parts, sum(w.weight)::bigint as weight
    from weighted as w
    join conversions as c on w.window_no = c.window_no
    where c.journey_id is not null
    group by all
),
paid as (select journey_id, currency, sum(amount)::decimal(18, 4) as amount from money group by journey_id, currency),
cells as (
    select model, channel, currency, parts, sum(weight)::bigint as weight, 0::decimal(38, 4) as weighted_amount
    from credited
    group by all
    union all
    select c.model, c.channel, p.currency, c.parts, 0, sum(p.amount * c.weight)::decimal(38, 4)
    from credited as c
    join paid as p on c.journey_id = p.journey_id
    group by all
)
select model, channel, currency, parts, sum(weight)::bigint as weight, sum(weighted_amount)::decimal(38, 4) as weighted_amount
from cells
group by model, channel, currency, parts

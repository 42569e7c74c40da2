"""The event contracts say what the design's table says, in the vocabulary that the reader understands."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

EVENTS = Path(__file__).resolve().parents[2] / "schemas" / "events"
CONTRACTS = {
    path.relative_to(EVENTS).as_posix(): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(EVENTS.glob("*/*.json"))
}
#: The newest version of each type.
BY_TYPE = {document["title"]: document for document in CONTRACTS.values()}
REGISTRY = Registry().with_resources(
    (document["$id"], Resource.from_contents(document)) for document in CONTRACTS.values()
)

# The design's table: type -> (required own fields, optional own fields).
TABLE = {
    "ad_view": ("campaign_id", "creative_id clicked cost currency"),
    "site_visit": ("page_url", "page_kind load_ms http_status error_code element"),
    "product_usage": ("feature", "task task_outcome duration_s error_count"),
    "purchase": ("order_id amount currency", "product_id quantity"),
    "offer_redeemed": ("", "offer_id order_id"),
    "payment_failed": ("", "order_id subscription_id amount currency failure_code provider"),
    "refund": ("order_id amount currency", ""),
    "ticket_opened": ("ticket_id", "topic priority team self_service"),
    "ticket_replied": ("ticket_id author", "public"),
    "ticket_resolved": ("ticket_id", ""),
    "ticket_reopened": ("ticket_id", ""),
    "survey_sent": ("survey_type", "survey_id ticket_id order_id"),
    "survey_response": (
        "survey_type score scale_min scale_max",
        "survey_id ticket_id order_id context easier_is_higher comment",
    ),
    "subscription_started": ("subscription_id amount currency period_months", "plan auto_renews"),
    "subscription_changed": ("subscription_id amount currency period_months", "plan auto_renews"),
    "renewal": ("subscription_id amount currency period_months", "outcome"),
    "cancellation": ("subscription_id kind", "reason voluntary"),
    "account_closed": ("", "reason"),
    "review": ("rating scale_min scale_max", "order_id"),
    "referral": ("", "referred_email"),
}
# Later versions: what they add. Everything else is as it was, so that an event of an earlier one is one of these too.
ADDED = {"product_usage/1-1-0.json": ("product_usage/1-0-0.json", {"subscription_id"})}
ENVELOPE = (
    "event_id event_type occurred_at",
    (
        "schema_version received_at source source_session_id anonymous_id customer_id email account_id "
        "channel campaign_id utm_source utm_medium device_type country"
    ),
)
SESSION = {"ad_view", "site_visit", "product_usage", "purchase", "offer_redeemed", "payment_failed"}
ENUMS = {
    ("site_visit", "page_kind"): "home search product cart checkout payment help account other",
    ("product_usage", "task_outcome"): "completed abandoned failed",
    ("ticket_replied", "author"): "agent customer bot",
    ("survey_sent", "survey_type"): "csat nps ces",
    ("survey_response", "survey_type"): "csat nps ces",
    ("survey_response", "context"): "transactional relationship",
    ("renewal", "outcome"): "renewed declined",
    ("cancellation", "kind"): "requested effective",
}
DEFAULTS = {
    ("envelope", "schema_version"): "1-0-0",
    ("ticket_replied", "public"): True,
    ("subscription_started", "auto_renews"): True,
    ("subscription_changed", "auto_renews"): True,
    ("renewal", "outcome"): "renewed",
}
RANGES = {
    ("ad_view", "cost"): {"minimum": 0},
    ("site_visit", "load_ms"): {"minimum": 0},
    ("site_visit", "http_status"): {"minimum": 0},
    ("product_usage", "duration_s"): {"minimum": 0},
    ("product_usage", "error_count"): {"minimum": 0},
    ("purchase", "amount"): {"minimum": 0},
    ("purchase", "quantity"): {"minimum": 0},
    ("payment_failed", "amount"): {"minimum": 0},
    ("refund", "amount"): {"exclusiveMinimum": 0},
    ("subscription_started", "amount"): {"minimum": 0},
    ("subscription_started", "period_months"): {"minimum": 1},
    ("subscription_changed", "amount"): {"minimum": 0},
    ("subscription_changed", "period_months"): {"minimum": 1},
    ("renewal", "amount"): {"minimum": 0},
    ("renewal", "period_months"): {"minimum": 1},
}
WITHIN_SCALE = {"x-at-least-field": "scale_min", "x-at-most-field": "scale_max"}
BETWEEN_FIELDS = {
    ("survey_response", "score"): WITHIN_SCALE,
    ("survey_response", "scale_min"): {"x-less-than-field": "scale_max"},
    ("review", "rating"): WITHIN_SCALE,
    ("review", "scale_min"): {"x-less-than-field": "scale_max"},
}

# Field name -> what it is; every other field is a string.
MONEY = {"amount", "cost"}
NUMBERS = {"load_ms", "duration_s", "score", "rating", "scale_min", "scale_max"}
WHOLE = {"http_status", "error_count", "quantity", "period_months"}
FLAGS = {"clicked", "self_service", "public", "easier_is_higher", "auto_renews", "voluntary"}
TIMES = {"occurred_at", "received_at"}
IDENTIFIERS = {
    "event_id": "event",
    "customer_id": "customer",
    "anonymous_id": "device",
    "email": "email",
    "ticket_id": "ticket",
    "subscription_id": "subscription",
    "order_id": "order",
}
PERSONAL = {"email", "referred_email", "comment"}
LOW_CARDINALITY = {
    "event_type", "schema_version", "source", "channel", "campaign_id", "utm_source", "utm_medium", "device_type",
    "country", "creative_id", "currency", "page_kind", "error_code", "feature", "task", "task_outcome", "failure_code",
    "provider", "topic", "priority", "team", "author", "survey_type", "context", "plan", "outcome", "kind", "reason",
}  # fmt: skip

KEYWORDS = {
    "description", "type", "enum", "minimum", "exclusiveMinimum", "maximum", "pattern", "default", "format",
}  # fmt: skip
ANNOTATIONS = {
    "x-arrow", "x-identifier", "x-money", "x-personal", "x-low-cardinality",
    "x-at-least-field", "x-at-most-field", "x-less-than-field",
}  # fmt: skip
TOP_LEVEL = {"$schema", "$id", "title", "description", "type", "required", "properties"}
TOP_LEVEL_OF_A_TYPE = TOP_LEVEL | {"allOf", "x-session"}

PROPERTIES = [
    (event_type, name, definition)
    for event_type, document in BY_TYPE.items()
    for name, definition in document["properties"].items()
]
each_contract = pytest.mark.parametrize("path", CONTRACTS)
each_property = pytest.mark.parametrize(
    ("event_type", "name", "definition"), PROPERTIES, ids=[f"{t}.{n}" for t, n, _ in PROPERTIES]
)


def keyword_of_each_property(*keywords):
    """{(type, field): {keyword: value}} for the properties that have any of these keywords."""
    found = {(t, n): {k: d[k] for k in keywords if k in d} for t, n, d in PROPERTIES}
    return {place: values for place, values in found.items() if values}


def test_the_types_are_those_of_the_table():
    assert set(CONTRACTS) == {f"{name}/1-0-0.json" for name in [*TABLE, "envelope"]} | set(ADDED)


@each_contract
def test_is_a_valid_schema(path):
    assert CONTRACTS[path]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(CONTRACTS[path])


@each_contract
def test_file_id_and_title_agree(path):
    event_type, version = path.removesuffix(".json").split("/")
    assert CONTRACTS[path]["title"] == event_type
    assert CONTRACTS[path]["$id"] == f"urn:parcours:event:{event_type}:{version}"


@each_contract
def test_file_is_indented_by_two_and_ends_in_a_newline(path):
    text = (EVENTS / path).read_text(encoding="utf-8")
    assert text == json.dumps(CONTRACTS[path], indent=2, ensure_ascii=False) + "\n"


@each_contract
def test_top_level_holds_only_the_vocabulary(path):
    document = CONTRACTS[path]
    if document["title"] == "envelope":
        assert set(document) == TOP_LEVEL
    else:
        assert set(document) == TOP_LEVEL_OF_A_TYPE
        assert document["allOf"] == [{"$ref": "urn:parcours:event:envelope:1-0-0"}]
    assert document["type"] == "object"
    assert document["description"].endswith(".")


@each_property
def test_property_holds_only_the_vocabulary(event_type, name, definition):
    assert set(definition) <= KEYWORDS | ANNOTATIONS
    assert {"description", "type", "x-arrow"} <= set(definition)
    assert definition["description"].endswith(".")


@each_property
def test_property_has_the_type_of_its_name(event_type, name, definition):
    if name in MONEY:
        expected = ("number", "decimal128(18, 4)")
    elif name in NUMBERS:
        expected = ("number", "double")
    elif name in WHOLE:
        expected = ("integer", "int64")
    elif name in FLAGS:
        expected = ("boolean", "bool")
    elif name in TIMES:
        expected = ("string", "timestamp[us, tz=UTC]")
    else:
        expected = ("string", "string")
    assert (definition["type"], definition["x-arrow"]) == expected


@each_property
def test_property_has_the_annotations_of_its_name(event_type, name, definition):
    expected = {
        "x-identifier": IDENTIFIERS.get(name),
        "x-money": "currency" if name in MONEY else None,
        "x-personal": True if name in PERSONAL else None,
        "x-low-cardinality": True if name in LOW_CARDINALITY else None,
        "format": "date-time" if name in TIMES else None,
        "pattern": "^[A-Z]{3}$" if name == "currency" else None,
    }
    assert {keyword: definition.get(keyword) for keyword in expected} == expected
    if "x-money" in definition:
        assert definition["x-money"] in BY_TYPE[event_type]["properties"]


def test_one_name_has_one_type_everywhere():
    kinds = {}
    for _, name, definition in PROPERTIES:
        kinds.setdefault(name, set()).add((definition["type"], definition["x-arrow"]))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_only_an_amount_means_different_things_in_different_types():
    descriptions = {}
    for _, name, definition in PROPERTIES:
        descriptions.setdefault(name, set()).add(definition["description"])
    assert {name for name, found in descriptions.items() if len(found) > 1} == {"amount"}


@pytest.mark.parametrize("event_type", [*TABLE, "envelope"])
def test_fields_are_those_of_the_table(event_type):
    required, optional = (fields.split() for fields in {**TABLE, "envelope": ENVELOPE}[event_type])
    assert CONTRACTS[f"{event_type}/1-0-0.json"]["required"] == required
    assert set(CONTRACTS[f"{event_type}/1-0-0.json"]["properties"]) == {*required, *optional}


@pytest.mark.parametrize("path", ADDED)
def test_a_later_version_adds_and_changes_nothing(path):
    earlier, added = ADDED[path]
    assert added.isdisjoint(CONTRACTS[earlier]["properties"]) and added.isdisjoint(CONTRACTS[path]["required"])
    later = {**CONTRACTS[path], "$id": CONTRACTS[earlier]["$id"]}
    later["properties"] = {name: d for name, d in later["properties"].items() if name not in added}
    assert later == CONTRACTS[earlier]
    assert set(CONTRACTS[path]["properties"]) == set(CONTRACTS[earlier]["properties"]) | added


def test_a_type_repeats_an_envelope_field_only_to_require_it():
    envelope = BY_TYPE["envelope"]["properties"]
    repeated = [(t, n, d) for t, n, d in PROPERTIES if t != "envelope" and n in envelope]
    assert repeated == [("ad_view", "campaign_id", envelope["campaign_id"])]


def test_sessions_are_made_of_the_six_types():
    assert {name for name in TABLE if BY_TYPE[name]["x-session"] is True} == SESSION
    assert {name for name in TABLE if BY_TYPE[name]["x-session"] is False} == set(TABLE) - SESSION


def test_enums():
    expected = {place: {"enum": values.split()} for place, values in ENUMS.items()}
    assert keyword_of_each_property("enum") == expected


def test_defaults():
    assert keyword_of_each_property("default") == {place: {"default": value} for place, value in DEFAULTS.items()}


def test_ranges():
    assert keyword_of_each_property("minimum", "exclusiveMinimum", "maximum") == RANGES


def test_rules_between_fields():
    assert keyword_of_each_property("x-at-least-field", "x-at-most-field", "x-less-than-field") == BETWEEN_FIELDS
    for (event_type, _), rules in BETWEEN_FIELDS.items():
        assert set(rules.values()) <= set(BY_TYPE[event_type]["required"])


SAMPLES = {"currency": "EUR", "occurred_at": "2024-03-01T12:00:00Z", "survey_type": "nps", "author": "agent", "kind": "requested"}  # fmt: skip


def smallest_event(event_type, **fields):
    """An event with the required fields only, then these."""
    names = [*ENVELOPE[0].split(), *TABLE[event_type][0].split()]
    event = {name: SAMPLES.get(name, 1 if name in MONEY | NUMBERS | WHOLE else "x") for name in names}
    return {**event, "event_type": event_type, **fields}


def errors_of(event):
    validator = Draft202012Validator(BY_TYPE[event["event_type"]], registry=REGISTRY)
    return [(error.validator, [*error.path]) for error in validator.iter_errors(event)]


@pytest.mark.parametrize("event_type", TABLE)
def test_smallest_event_is_accepted_with_fields_of_its_own(event_type):
    assert errors_of(smallest_event(event_type, a_field_of_the_senders=[1])) == []


@pytest.mark.parametrize("event_type", TABLE)
def test_event_without_a_required_field_is_refused(event_type):
    for name in [*ENVELOPE[0].split(), *TABLE[event_type][0].split()]:
        event = smallest_event(event_type)
        contract = Draft202012Validator(BY_TYPE[event_type], registry=REGISTRY)
        del event[name]
        assert [error.validator for error in contract.iter_errors(event)] == ["required"], name


@pytest.mark.parametrize(
    ("event_type", "name", "value", "broken"),
    [
        ("purchase", "amount", 0, None),
        ("purchase", "amount", -0.01, "minimum"),
        ("purchase", "amount", "10", "type"),
        ("purchase", "currency", "eur", "pattern"),
        ("purchase", "quantity", 10.0, None),
        ("purchase", "quantity", 1.5, "type"),
        ("refund", "amount", 0.0001, None),
        ("refund", "amount", 0, "exclusiveMinimum"),
        ("renewal", "amount", 0, None),
        ("renewal", "period_months", 0, "minimum"),
        ("renewal", "outcome", "lapsed", "enum"),
        ("site_visit", "http_status", 999, None),
        ("site_visit", "page_kind", "Home", "enum"),
        ("ticket_replied", "public", "true", "type"),
        ("referral", "customer_id", 7, "type"),
    ],
)
def test_value_is_judged(event_type, name, value, broken):
    expected = [] if broken is None else [(broken, [name])]
    assert errors_of(smallest_event(event_type, **{name: value})) == expected

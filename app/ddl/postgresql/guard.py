"""The trigger on `tasks` that refuses each UPDATE that breaks the state machine: all engines' rules, in plpgsql."""

import re

from app.ddl.portable import guard


def _refusal(words: str) -> str:
    text, *columns = re.sub(r"\{\w+\.\w+\}", "%", words), *re.findall(r"\{(\w+\.\w+)\}", words)
    return f"RAISE EXCEPTION 'tasks_guard: {text}', {', '.join(columns)} USING ERRCODE = 'check_violation';"


def _rules(rules: guard.Rules, indent: str = "    ") -> str:
    """Nested IFs: the first condition that is met decides."""
    lines, word = [], "IF"
    for condition, then in rules:
        within = f"{indent}    "
        refused = f"{within}{_refusal(then)}" if isinstance(then, str) else _rules(then, within)
        lines += [f"{indent}{word} {condition} THEN", refused]
        word = "ELSIF"
    return "\n".join([*lines, f"{indent}END IF;"])


_FUNCTION = f"""
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{_rules(guard.rules(lambda column: f"NEW.{column} IS DISTINCT FROM OLD.{column}", of_limits=False))}
    RETURN NEW;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard()
"""

CREATE = (_FUNCTION, _TRIGGER)

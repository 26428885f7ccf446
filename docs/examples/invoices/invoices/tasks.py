"""Sums a file of invoices by customer. TASK_MODULES=invoices.tasks"""

import csv
import io
import logging
from collections import defaultdict
from decimal import Decimal, InvalidOperation
from typing import Any

from app.celery_app import celery_app
from app.tasks.files import InputFile

logger = logging.getLogger(__name__)

COLUMNS = {"customer", "amount"}


@celery_app.task(bind=True, name="invoices.sum_by_customer", dont_autoretry_for=(ValueError,))
def sum_by_customer(self: Any, file: InputFile, currency: str = "EUR") -> dict[str, Any]:
    """Sum the amounts of a CSV file by customer, and save the sums as a file.

    A line without an amount is logged and left out. A file without the columns fails at once: it would not be another
    one the next time.
    """
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    left_out = 0
    with file.open() as opened, io.TextIOWrapper(opened, "utf-8-sig", newline="") as text:
        rows = csv.DictReader(text)
        if missing := COLUMNS - {*(rows.fieldnames or ())}:
            raise ValueError(f"{file.name} has no column {', '.join(sorted(missing))}")
        for number, row in enumerate(rows, 1):
            try:
                sums[row["customer"]] += Decimal(row["amount"])
            except (InvalidOperation, TypeError):
                left_out += 1
                logger.warning("line %d has no amount: %r", number + 1, row["amount"])
            if number % 1000 == 0:  # progress, and where a cancellation is heard of
                self.update_progress(min(99, opened.tell() * 100 // max(file.size, 1)), {"lines": number})
                self.emit({"lines": number, "customers": len(sums)}, stream="steps")
    artifact = self.save_artifact(f"sums-{file.name}", _table(sums, currency), "text/csv")
    return {"customers": len(sums), "total": str(sum(sums.values())), "left_out": left_out, "artifact": artifact}


def _table(sums: dict[str, Decimal], currency: str) -> str:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(["customer", f"amount in {currency}"])
    writer.writerows((customer, str(sums[customer])) for customer in sorted(sums))
    return written.getvalue()

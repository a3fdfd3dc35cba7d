"""What must hold of sagas."""

INVARIANTS: list[tuple[str, str]] = [
    (
        "a saga that was told of has been through all steps",
        """
        SELECT n.tenant, n.saga_id FROM fivesteps_notification n
        LEFT JOIN fivesteps_shipment s USING (tenant, saga_id)
        LEFT JOIN fivesteps_order o USING (tenant, saga_id)
        WHERE s.id IS NULL OR o.id IS NULL
        """,
    ),
]
"""Statements that must return no row."""

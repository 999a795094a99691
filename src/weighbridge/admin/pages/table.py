"""Every page and every form's target, with the role that it takes."""

from weighbridge.admin.pages import handlers, labelling, peopleviews
from weighbridge.admin.pages.actions import NEEDS, limit_action, ramp_action
from weighbridge.admin.pages.shell import PageDoor

PAGES: tuple[PageDoor, ...] = (
    PageDoor(method="GET", path="/", role="viewer", handler=handlers.first),
    PageDoor(method="GET", path="/share", role="viewer", handler=handlers.share),
    PageDoor(method="GET", path="/routes", role="viewer", handler=handlers.routes),
    PageDoor(method="GET", path="/routes/{route}", role="viewer", handler=handlers.route),
    PageDoor(method="GET", path="/routes/{route}/live", role="viewer", handler=handlers.route_live, page=False),
    PageDoor(method="GET", path="/trials", role="viewer", handler=handlers.trials),
    PageDoor(method="GET", path="/trials/{trial}", role="viewer", handler=handlers.trial),
    PageDoor(method="GET", path="/trials/{trial}/live", role="viewer", handler=handlers.trial_live, page=False),
    PageDoor(method="GET", path="/budgets", role="viewer", handler=handlers.budgets),
    PageDoor(method="GET", path="/budgets/{budget}", role="viewer", handler=handlers.budget),
    PageDoor(method="GET", path="/scan", role="viewer", handler=handlers.scan),
    PageDoor(method="GET", path="/licences", role="viewer", handler=handlers.licences),
    PageDoor(method="GET", path="/exchanges", role="viewer", handler=handlers.exchanges),
    PageDoor(method="GET", path="/exchanges/compare", role="viewer", handler=handlers.compare),
    PageDoor(method="GET", path="/exchanges/{exchange}", role="viewer", handler=handlers.exchange),
    PageDoor(method="GET", path="/alerts", role="viewer", handler=handlers.alerts),
    PageDoor(method="GET", path="/alerts/{alert}", role="viewer", handler=handlers.alert),
    PageDoor(method="GET", path="/audit", role="viewer", handler=handlers.audit),
    PageDoor(method="GET", path="/labels", role="labeller", handler=labelling.listed),
    PageDoor(method="GET", path="/labels/{trial}", role="labeller", handler=labelling.shown),
    PageDoor(method="GET", path="/labels/{trial}/next", role="labeller", handler=labelling.upcoming, page=False),
    PageDoor(
        method="POST", path="/labels/{trial}/choice", role="labeller", handler=labelling.choose,
        changes=True, page=False,
    ),
    PageDoor(
        method="POST", path="/labels/{trial}/back", role="labeller", handler=labelling.back, changes=True, page=False
    ),
    *(
        PageDoor(
            method="POST", path=f"/routes/{{route}}/{action}", role=role, handler=ramp_action(action), changes=True
        )
        for action, role in NEEDS.items()
    ),
    PageDoor(method="GET", path="/account", role=None, handler=peopleviews.account),
    PageDoor(method="POST", path="/account/tokens", role=None, handler=peopleviews.make_token, changes=True),
    PageDoor(
        method="POST", path="/account/tokens/{token}/revoke", role=None, handler=peopleviews.revoke_own, changes=True
    ),
    PageDoor(method="GET", path="/people", role="admin", handler=peopleviews.listed),
    PageDoor(method="POST", path="/people", role="admin", handler=peopleviews.add, changes=True),
    PageDoor(method="POST", path="/people/{user}", role="admin", handler=peopleviews.change, changes=True),
    PageDoor(method="POST", path="/people/{user}/link", role="admin", handler=peopleviews.new_link, changes=True),
    PageDoor(
        method="POST", path="/people/tokens/{token}/revoke", role="admin", handler=peopleviews.revoke_any, changes=True
    ),
    PageDoor(method="POST", path="/budgets/{budget}/limit", role="approver", handler=limit_action(clear=False),
             changes=True),
    PageDoor(method="POST", path="/budgets/{budget}/limit/clear", role="approver", handler=limit_action(clear=True),
             changes=True),
)  # fmt: skip
